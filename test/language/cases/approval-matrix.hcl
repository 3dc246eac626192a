# run: succeeded_with_warnings
# rules: 5 approval
# to[eu]: succeeded "approved by"
# approve to[eu]: ok
# to[us]: failed "later"
# reject to[us]: later
# ship: succeeded
pipeline "approval-matrix" {
  module "to" {
    matrix         = { where = ["eu", "us"] }
    ignore_failure = true
    approval {
      message = "Ship to ${matrix.where}?"
    }
  }
  module "ship" {
    always_run = true
    command    = ["echo", module.to["eu"].status, module.to["us"].status]
  }
}
