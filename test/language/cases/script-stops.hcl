# run: failed
# a: failed "exit code"
pipeline "script_stops" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "false; echo no"
  }
}
