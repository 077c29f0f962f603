"""Images and pages about a run, made from the files that it wrote."""
