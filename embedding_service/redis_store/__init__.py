"""Users' state in Redis: keys, layouts, scripts, and the way to the servers."""
