"""The diagnosis of console logs: read in constant memory, masked, judged by rules, explained from the documentation."""
