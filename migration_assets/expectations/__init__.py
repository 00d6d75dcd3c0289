"""Great Expectations beside the run: suites derived from the plan, evaluated in a child process."""
