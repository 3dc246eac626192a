# run: failed
# rules: 5 approval
# gate: failed "not approved within 1s"
# ship: skipped "dependency gate failed"
pipeline "approval-timeout" {
  module "gate" {
    approval {
      message = "Ship it?"
      timeout = "1s"
    }
  }
  module "ship" {
    depends_on = [module.gate]
    command    = ["true"]
  }
}
