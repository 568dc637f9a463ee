"""What stands on top of the index and the search: nothing above imports these but the command line."""
