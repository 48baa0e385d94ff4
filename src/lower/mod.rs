//! Exact rewrites of a graph: the same function in fewer operations, one rewrite a file.
