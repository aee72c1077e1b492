"""What `course.py` runs for the reader: doctor, data and notebooks. No chapter imports from here."""
