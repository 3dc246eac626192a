# run: invalid
# rules: 10 child
# error: lib/itself.hcl:4:16: a pipeline cannot run itself: lib/itself.hcl -> lib/itself.hcl
pipeline "child-itself" {
  module "itself" {
    pipeline = "lib/itself.hcl"
  }
}
