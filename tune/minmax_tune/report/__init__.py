"""The results of a search for people: tables, pictures, a page, the best configs."""
