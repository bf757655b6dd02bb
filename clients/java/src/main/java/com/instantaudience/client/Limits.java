package com.instantaudience.client;

/** A member's limits: {@code Limits} of catalog.proto, with the service's defaults for missing fields. */
record Limits(
    int usersPerCall,
    int segmentsPerUser,
    int bodyBytes,
    int postsPerSecond,
    int usersPerSecond,
    int getsPerSecond) {
  static final Limits DEFAULT = of(com.instantaudience.v1.Limits.getDefaultInstance());

  static Limits of(com.instantaudience.v1.Limits told) {
    return new Limits(
        told.hasUsersPerCall() ? told.getUsersPerCall() : Rules.USERS_PER_CALL,
        told.hasSegmentsPerUser() ? told.getSegmentsPerUser() : Rules.SEGMENTS_PER_USER,
        told.hasBodyBytes() ? told.getBodyBytes() : Rules.BODY_BYTES,
        told.hasPostsPerSecond() ? told.getPostsPerSecond() : Rules.POSTS_PER_SECOND,
        told.hasUsersPerSecond() ? told.getUsersPerSecond() : Rules.USERS_PER_SECOND,
        told.hasGetsPerSecond() ? told.getGetsPerSecond() : Rules.GETS_PER_SECOND);
  }

  /**
   * The limits of unary calls. The service refuses one that exceeds what is left of a second, so one that needs all of
   * it would be refused as long as anybody else of the member writes. Requests of streams wait there.
   */
  Limits ofCalls() {
    int part = usersPerSecond / Math.max(1, Math.min(Rules.QUOTA_PARTS, postsPerSecond));
    return new Limits(
        Math.max(1, Math.min(usersPerCall, part)),
        segmentsPerUser,
        bodyBytes,
        postsPerSecond,
        usersPerSecond,
        getsPerSecond);
  }

  /** The maximum number of users in a request that reads them. */
  int usersPerRead() {
    return Math.max(1, Math.min(Rules.BATCH_USERS, getsPerSecond / Rules.QUOTA_PARTS));
  }

  /** The limits that requests which read are paced by: each of their users counts. */
  Limits ofReads() {
    return new Limits(usersPerCall, segmentsPerUser, bodyBytes, getsPerSecond, getsPerSecond, getsPerSecond);
  }

  /** As the caller gets them, in all that the client goes by. */
  com.instantaudience.v1.Limits message() {
    return com.instantaudience.v1.Limits.newBuilder()
        .setUsersPerCall(usersPerCall)
        .setSegmentsPerUser(segmentsPerUser)
        .setBodyBytes(bodyBytes)
        .setPostsPerSecond(postsPerSecond)
        .setUsersPerSecond(usersPerSecond)
        .setGetsPerSecond(getsPerSecond)
        .build();
  }
}
