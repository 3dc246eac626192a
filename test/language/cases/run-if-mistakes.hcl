# run: invalid
# rules: 5 10
# error: module "both" has both run_if and always_run
# error: write "succeeded" or "not_failed"
# error: module "template" has both run_if and always_run
pipeline "run_if_mistakes" {
  template "tolerant" {
    run_if = "not_failed"
  }
  module "both" {
    run_if     = "not_failed"
    always_run = true
    command    = ["true"]
  }
  module "wrong" {
    run_if  = "failed"
    command = ["true"]
  }
  module "template" {
    use        = template.tolerant
    always_run = true
    command    = ["true"]
  }
}
