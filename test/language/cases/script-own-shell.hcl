# run: succeeded
# a: succeeded
# log a: hello
pipeline "script_own_shell" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = <<-S
      #!/bin/cat
      hello
    S
  }
}
