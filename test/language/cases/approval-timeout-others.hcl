# kill
# run: succeeded
# rules: 5 approval
# pass: succeeded "no decision within 1s"
# drop: skipped "not approved within 1s"
# after-pass: succeeded
# log after-pass: timeout
# after-drop: skipped "dependency drop was skipped"
pipeline "approval-timeout-others" {
  module "pass" {
    approval {
      message    = "Go on?"
      timeout    = "1s"
      on_timeout = "approve"
    }
  }
  module "drop" {
    approval {
      message    = "Go on?"
      timeout    = "1s"
      on_timeout = "skip"
    }
  }
  module "after-pass" {
    command = ["echo", module.pass.result.approved_by]
  }
  module "after-drop" {
    depends_on = [module.drop]
    command    = ["true"]
  }
}
