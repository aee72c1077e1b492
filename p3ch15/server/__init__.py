"""The server of chapter 15, "Our model behind a Flask server"; `python -m p3ch15.server` starts it.

app       the application: pages and API            jobs      uploaded scans, analysed one after the other
batching  single requests, computed together        pictures  slices and findings as the page shows them
inputs    what a client sends, read with suspicion  reader    opens a stranger's scan in its own process
front     the web server around the application     analysis  chapter 14's, which tells how far it is
"""
