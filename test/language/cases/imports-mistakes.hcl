# run: invalid
# rules: 10 imports
# error: "https://example.org/lib.hcl" is no file of the workspace
# error: there are no network imports
pipeline "imports-mistakes" {
  imports = ["lib/words.hcl", "https://example.org/lib.hcl"]

  module "a" {
    command = ["echo", local.greeting]
  }
}
