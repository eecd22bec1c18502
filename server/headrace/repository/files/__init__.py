"""Files and folders of the repository, entered one step at a time so that nothing leads outside."""
