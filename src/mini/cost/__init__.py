"""What a run costs, as an estimate: seconds of jobs by where they ran, at rates that anybody can edit."""
