"""What keeps an index well: status, checks, repair, compaction."""
