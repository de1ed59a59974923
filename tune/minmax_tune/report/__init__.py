"""What a search leaves for people: tables, pictures, a page, the best configs."""
