"""Letters: the answer to an abuse complaint, from template files and from facts that are true."""
