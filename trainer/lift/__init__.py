"""The preset `best`: its teacher, its recipe, and what is fitted for serving it."""
