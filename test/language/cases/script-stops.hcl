# run: failed
# rules: 1 s21
# a: failed "exit code"
pipeline "script_stops" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "false; echo no"
  }
}
