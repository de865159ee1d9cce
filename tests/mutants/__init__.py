"""Mutation tests: does a test notice each small change of the rules?

`make mutants` changes one operator, name, number or argument at a time and runs the tests of that
module. A change that no test notices is a survivor. `modules/` names the modules, their tests, and
the reason for each survivor that is left; one without a reason fails.
"""
