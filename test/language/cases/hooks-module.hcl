# run: failed
# rules: s25
# good: succeeded
# bad: failed "exit code 3"
# after: succeeded
# log good: before
# log good: main
# log good: success succeeded
# log good: after succeeded
# log bad: failure failed
# log bad: after failed
# log after: made by the hook
pipeline "hooks_module" {
  on_failure = "continue"
  workspace {
    exclude = ["**"]
  }
  module "good" {
    script  = "echo main"
    outputs = ["made"]
    hooks {
      before     = "echo before"
      on_success = <<-SH
        echo "success $PIPELINED_STATUS"
        echo "made by the hook" > made
      SH
      on_failure = "echo never"
      after      = "echo after $PIPELINED_STATUS"
    }
  }
  module "bad" {
    script = "exit 3"
    hooks {
      on_success = "echo never"
      on_failure = "echo failure $PIPELINED_STATUS"
      after      = "echo after $PIPELINED_STATUS"
    }
  }
  module "after" {
    depends_on = [module.good]
    command    = ["cat", "made"]
  }
}
