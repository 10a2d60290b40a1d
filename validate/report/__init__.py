"""Reports: text for people, JSON for programs, one HTML page with pictures."""
