# Run by child*.hcl.
pipeline "fails" {
  on_failure = "continue"
  module "bad" {
    script = "exit 3"
  }
  module "good" {
    script = "echo a=b >>$PIPELINED_OUTPUT"
  }
}
