"""HTTP as it stands on the wire: what no client would send, too."""
