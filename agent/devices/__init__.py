"""One file per firmware API, behind the `Device` protocol."""
