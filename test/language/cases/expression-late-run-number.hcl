# run: succeeded
# rules: 3
# a: succeeded
pipeline "expression_late_run_number" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "test ${run.number} -ge 1"
  }
}
