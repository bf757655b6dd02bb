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

  /** The maximum number of users in a request that reads them. */
  int usersPerRead() {
    return Math.max(1, Math.min(Rules.BATCH_USERS, getsPerSecond / Rules.READS_OF_SECOND));
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
