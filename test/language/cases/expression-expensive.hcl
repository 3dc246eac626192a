# run: failed
# rules: s27
# first: succeeded
# heavy: failed "expression too expensive"
# after: skipped "heavy failed"
# free: succeeded
pipeline "expression_expensive" {
  on_failure = "continue"
  workspace {
    exclude = ["**"]
  }
  module "first" {
    command = ["sh", "-c", "echo n=1000 >> $PIPELINED_OUTPUT"]
  }
  module "heavy" {
    command = ["echo", length([for a in range(module.first.result.n) : [for b in range(module.first.result.n) : [for c in range(module.first.result.n) : a + b + c]]])]
  }
  module "after" {
    depends_on = [module.heavy]
    command    = ["true"]
  }
  module "free" {
    command = ["echo", module.first.result.n]
  }
}
