# kill
# run: failed
# rules: 5 approval
# gate: failed "not on a Friday"
# reject gate: not on a Friday
# ship: skipped "dependency gate failed"
# tell: succeeded
# log tell: failed false not on a Friday
pipeline "approval-rejected" {
  module "gate" {
    approval {
      message = "Ship it?"
    }
  }
  module "ship" {
    depends_on = [module.gate]
    command    = ["true"]
  }
  module "tell" {
    always_run = true
    command    = ["echo", "${module.gate.status} ${module.gate.result.approved} ${module.gate.result.comment}"]
  }
}
