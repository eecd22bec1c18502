"""Messages of the wire, generated from protos/ by the build; nothing below this folder is edited by hand."""
