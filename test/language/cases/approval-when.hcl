# run: succeeded
# rules: 5 approval
# gate: skipped "when is false"
# ship: skipped "dependency gate was skipped"
# other: succeeded
pipeline "approval-when" {
  variable "ask" {
    default = false
  }
  module "gate" {
    when = var.ask
    approval {
      message = "Ship it?"
    }
  }
  module "ship" {
    depends_on = [module.gate]
    command    = ["true"]
  }
  module "other" {
    command = ["true"]
  }
}
