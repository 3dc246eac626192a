# run: failed
# rules: 5 approval
# gate: cancelled "the run exceeded its timeout of 1s"
# last: succeeded
pipeline "approval-run-timeout" {
  timeout = "1s"
  module "gate" {
    approval {
      message = "Ship it?"
    }
  }
  module "last" {
    depends_on = [module.gate]
    always_run = true
    command    = ["true"]
  }
}
