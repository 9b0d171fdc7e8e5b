# Ways to AWS that do not leave its network. The one to S3 is free; the others are paid by the hour
# and zone.

locals {
  # Pulling an image takes both of ECR's; its layers come from S3.
  interface_services = ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sqs"]
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${data.aws_region.current.id}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
  tags              = { Name = "${var.name}-s3" }

  # Roles say who may read and write. This says where to: a task that runs what it should not
  # cannot carry data to another's bucket.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OwnBuckets"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:*"
        Resource  = flatten([for arn in var.bucket_arns : [arn, "${arn}/*"]])
      },
      {
        Sid       = "LayersOfImages"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:GetObject"
        Resource = (
          "arn:${var.partition}:s3:::prod-${data.aws_region.current.id}-starport-layer-bucket/*"
        )
      },
    ]
  })
}

resource "aws_vpc_endpoint" "interface" {
  for_each = toset(local.interface_services)

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${data.aws_region.current.id}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true
  tags                = { Name = "${var.name}-${each.key}" }
}

# Who may call the endpoints is said where the tasks' own groups are.
resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "HTTPS from the tasks to the endpoints of AWS"
  vpc_id      = aws_vpc.this.id
}
