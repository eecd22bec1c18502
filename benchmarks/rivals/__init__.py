"""The servers that headrace is measured beside; what runs in their own environment is a script here."""
