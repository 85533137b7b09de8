"""The applications: video classification first."""
