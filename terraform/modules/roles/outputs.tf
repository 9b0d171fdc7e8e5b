output "arns" {
  description = "Roles by use: execution, service, worker."
  # Through the policies, so that no task starts before its role may do anything.
  value = { for use, policy in aws_iam_role_policy.this : use => aws_iam_role.this[use].arn }
}
