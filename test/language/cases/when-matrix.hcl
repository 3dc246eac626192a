# run: succeeded
# rules: 5
# a[1]: succeeded
# a[2]: skipped "when is false"
pipeline "when_matrix" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    matrix  = { n = [1, 2] }
    when    = matrix.n == 1
    command = ["true"]
  }
}
