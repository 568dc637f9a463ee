"""What somebody types, read: the parts of a query, its dates and places, and the filters beside it."""
