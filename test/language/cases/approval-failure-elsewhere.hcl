# run: failed
# rules: 5 approval
# gate: skipped "not started because bad failed"
# bad: failed
pipeline "approval-failure-elsewhere" {
  module "gate" {
    approval {
      message = "Ship it?"
    }
  }
  module "bad" {
    command = ["false"]
  }
}
