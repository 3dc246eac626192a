# run: failed
# rules: 10 child runs
# inner: failed "its concurrency group "one" is that of run "
pipeline "child-group" {
  concurrency {
    group = "one"
  }
  module "inner" {
    pipeline = "lib/grouped.hcl"
  }
}
