# run: succeeded
# rules: s28
# kill
# a[1]: succeeded
# a[2]: succeeded
# a[3]: succeeded
pipeline "not_in_parallel" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    matrix          = { n = [1, 2, 3] }
    not_in_parallel = ["conformance-a"]
    command         = ["sleep", "0.3"]
  }
}
