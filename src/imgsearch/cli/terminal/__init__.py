"""What a person sees on a terminal in place of plain lines: numbered rows that fit the window, in colours, linked."""
