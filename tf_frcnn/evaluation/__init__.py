"""Figures for detections: NumPy and pycocotools only, whatever made the detections."""
