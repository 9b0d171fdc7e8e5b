output "names" {
  description = "Bucket names by purpose."
  # The policy in the reference's place: whoever uses a bucket waits until it is closed to others.
  value = { for purpose, policy in aws_s3_bucket_policy.this : purpose => policy.bucket }
}

output "arns" {
  description = "Bucket ARNs by purpose."
  value       = { for purpose, bucket in aws_s3_bucket.this : purpose => bucket.arn }
}
