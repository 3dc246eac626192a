# run: succeeded
# rules: 7
# a: succeeded
# log a: own
pipeline "template_own_wins" {
  workspace {
    exclude = ["**"]
  }
  template "t" {
    script  = "exit 1"
    timeout = "1s"
  }
  module "a" {
    use     = template.t
    command = ["echo", "own"]
  }
}
