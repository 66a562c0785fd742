"""`watch`: records each adapter operation on a model as a step."""
