"""HTTP at wire level, including what no client would send."""
